"""Labelled images: what DATA names, which class and split each image belongs to, and their pixels."""
