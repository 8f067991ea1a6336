"""Metrics: does the method satisfy its axioms?"""
