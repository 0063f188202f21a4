"""Data that goes in and out: backups, Apache ZooKeeper's files, JSON lines."""
