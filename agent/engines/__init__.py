"""Concrete engines: chosen, opened and started. Nothing else in Parley names one."""
