def render(groups, unreached, when): return "x"
