"""Retrieval in process: the engine, the reference path and nearest-neighbour indexes on the same planted vectors."""
