"""Quality of service of networks that classify."""
