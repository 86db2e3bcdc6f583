-- wrk: the request is made once; no Lua runs while it measures.
wrk.method = "POST"
wrk.body = string.rep("\0", 64)
