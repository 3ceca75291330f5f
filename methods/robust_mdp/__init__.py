"""Robust Markov decision processes without model estimation.

Source: Yang, Wang, Kozuno, Jordan and Zhang, arXiv 2302.01248 (v3, 2023).
"""
