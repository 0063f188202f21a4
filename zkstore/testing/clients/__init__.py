"""Clients that record what they were told: sessions that speak the protocol as bytes, and what they ask for and why."""
