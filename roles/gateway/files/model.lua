-- Registers the converter lua.llm_model: a request's JSON body → the model that it names.
--
-- HAProxy's own json_query takes the first of several equal keys, while engines take the last one, and Go's decoder even
-- takes "Model". A request could so be checked for one model and answered by another. Here a body passes only if it is one
-- object with exactly one top-level "model", spelt plainly; everything else yields an empty string.

local find, sub, byte = string.find, string.sub, string.byte
local QUOTE = byte('"')
local OPENING = { [byte("{")] = true, [byte("[")] = true }

-- Position of the quote that closes the string which opens at `start`.
local function closing_quote(body, start)
    local at = start + 1
    while true do
        local hit = find(body, '["\\]', at)
        if not hit or byte(body, hit) == QUOTE then
            return hit
        end
        at = hit + 2
    end
end

local function model_of(body)
    if not find(body, "^%s*{") then
        return nil
    end
    local depth, position, model = 0, 1, nil
    while true do
        local at = find(body, '["{}%[%]]', position)
        if not at then
            return nil
        end
        position = at + 1
        if OPENING[byte(body, at)] then
            depth = depth + 1
        elseif byte(body, at) ~= QUOTE then
            depth = depth - 1
            if depth == 0 then
                return find(body, "^%s*$", position) and model
            end
        else
            local close = closing_quote(body, at)
            if not close then
                return nil
            end
            position = close + 1
            local _, before_value = find(body, "^%s*:%s*", position)
            if depth == 1 and before_value then
                local key = sub(body, at + 1, close - 1)
                if find(key, "\\", 1, true) then
                    return nil
                end
                if key:lower() == "model" then
                    local start = before_value + 1
                    if model or key ~= "model" or byte(body, start) ~= QUOTE then
                        return nil
                    end
                    close = closing_quote(body, start)
                    if not close then
                        return nil
                    end
                    -- Some encoders write a slash as \/.
                    model = sub(body, start + 1, close - 1):gsub("\\/", "/")
                    -- Look-ups below read C strings, which end at a NUL.
                    if find(model, "%c") then
                        return nil
                    end
                    position = close + 1
                end
            end
        end
    end
end

-- HAProxy turns nil into false, and that into "0".
core.register_converters("llm_model", function(body) return model_of(body) or "" end)
