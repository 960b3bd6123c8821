"""The processors of an EVE Online killboard."""
