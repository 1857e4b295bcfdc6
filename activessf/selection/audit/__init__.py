"""The audit of selections: tables, pictures and a page by which to judge what stage 2 kept, and sweeps of it."""
