"""Metrics: do similar images get similar maps?"""
