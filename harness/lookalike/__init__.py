"""Look-alikes of what the sign-up loop meets outside: a site, and inbound mail."""
