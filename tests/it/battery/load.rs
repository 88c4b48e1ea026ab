//! Floods, bursts, fairness, and quick answers while every core encodes.
