"""Ensembles over weights and hyperparameters.

Source: Wenzel, Snoek, Tran and Jenatton, NeurIPS 2020, arXiv 2006.13570.
"""
