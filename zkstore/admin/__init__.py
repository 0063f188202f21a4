"""How people and their tools look at a running server from outside the client protocol.

Here belongs what answers such a look; here does not belong how the figures come about: they are handed
over through `zkstore.server.figures.ServerView`. Read

    java_text            numbers, dates and addresses as Java prints them, because tools parse that
    four_letter_words    ruok, srvr, mntr and the others
"""
