"""Candidates: trained models offered to an ensemble, one small class for each way of making one."""
