"""Black-box test harness of Watchword: it knows the outside contract and the table columns."""
