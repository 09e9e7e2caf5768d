"""Engines, starting points, and the one loop. The registry holds names and import paths, so reading it is light."""

__all__ = ["ENGINES"]

ENGINES = {
    "em": "bayessoft.inference.em:EM",
    "cavi": "bayessoft.inference.cavi:CAVI",
    "gibbs": "bayessoft.inference.gibbs:Gibbs",
    "map": "bayessoft.inference.gradient_map:GradientMAP",
    "nuts": "bayessoft.inference.nuts:NUTS",
    "svi": "bayessoft.inference.svi:SVI",
}
"""The engines by the string that names them."""
