"""What people look at: figures of estimates, parameters and solutions (matplotlib, extra `plots`)."""
