def fail(how):
    raise ValueError(f"raised here: {how}")
