"""The engines: one row each, found through entry points, chosen by the settings, started. Nothing else names one."""
