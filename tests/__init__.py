"""The tests, a package so that all of them import their helpers as `tests.support`."""
