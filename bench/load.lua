-- wrk's request: a 2 KiB chat completion.
local body = '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"' .. string.rep("a ", 980) .. '"}]}'
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.body = body
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer " .. (os.getenv("BENCH_TOKEN") or "none")
function response(status)
  if status ~= 200 then
    io.stderr:write("bench: status " .. status .. "\n")
    os.exit(1)
  end
end
