"""The example's issues in Bugsink, a server that takes what Sentry takes, for a person to look at.

Bugsink lives in a virtual environment of its own, which `make triage` creates: nothing here is
imported from it, and nothing of this project needs it.
"""
