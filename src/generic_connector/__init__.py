"""A reference server for Twilio's Generic Pay Connector: takes the card, keeps it safe, charges it at most once."""

__version__ = "0.1.0"
