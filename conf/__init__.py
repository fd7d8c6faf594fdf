"""Every value of every experiment; installed as visagent.conf."""
