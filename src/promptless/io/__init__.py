"""Readers and writers, one file per family of formats."""
