"""How large a store must be for a site, from what was measured of each store. It asks no store."""

from session_middleware.capacity.plans import STORES, Plan, plan
from session_middleware.capacity.sizes import Measured, measured, record_bytes
from session_middleware.capacity.traffic import Rates, Site, rates

__all__ = ["STORES", "Measured", "Plan", "Rates", "Site", "measured", "plan", "rates", "record_bytes"]
