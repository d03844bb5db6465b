"""Readers of data sets, request tables and writers of results."""
