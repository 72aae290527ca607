"""`alpamayo-serve`: a tritonserver process around a model repository that `alpamayo-export` wrote."""
