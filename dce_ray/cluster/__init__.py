"""A search on a Ray cluster elsewhere: submit it, follow it, stop it, fetch what it found.

Everything goes through the HTTP address of the cluster's dashboard (port 8265): the jobs API brings the code and starts
the search on the head, its log comes back, and so do the results. No disk has to be shared and no other port be open.
"""
