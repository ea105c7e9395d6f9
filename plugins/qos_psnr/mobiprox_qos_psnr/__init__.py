"""Quality of service of networks that do not classify."""
