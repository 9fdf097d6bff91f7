"""The web: the gateway's listener, who is calling, health, and the control socket that commands use."""
