"""Requests that mean harm, sent to a real server: what it answers, and whom it keeps waiting."""
