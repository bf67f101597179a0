"""The built-in plugins outside the engine: gates, order, wake-up hints, reservation, preemption, binding. One module each.

PreFilter to NormalizeScore of the same plugins run in the engine. ImageLocality and NodeResourcesBalancedAllocation have no module here:
they only score, so they refuse nothing and nothing has to wake a pod for them.
"""
