"""Rules, findings and incidents: from scores to what somebody should know."""
