//! Thousands of jobs under chaos; every byte accounted for.
