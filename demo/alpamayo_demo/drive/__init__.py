"""Closed-loop driving: the car goes where the plan says, and what it sees then is what the next plan is made from."""
