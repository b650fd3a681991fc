-- Health of every meshca kind, for Argo CD. See health.md.
local needs_a_person = {
  BundleConflict = true,
  Denied = true,
  InvalidConfiguration = true,
  InvalidRequest = true,
  ManagedKeysNotAllowed = true,
  PolicyGap = true,
  ProviderError = true,
  RootExpired = true,
  RootKeyMissing = true,
  SecretConflict = true,
  TrustDomainConflict = true,
}
local hs = { status = "Progressing", message = "Waiting for the meshca operator" }
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "The operator has not seen the latest spec yet"
  return hs
end
local degraded = nil
for _, condition in ipairs(obj.status.conditions) do
  local text = condition.reason .. ": " .. condition.message
  if condition.type == "Ready" then
    hs.message = text
    if condition.status == "True" then
      hs.status = "Healthy"
    elseif needs_a_person[condition.reason] then
      hs.status = "Degraded"
    end
  elseif condition.status == "True" and (condition.type == "Degraded" or condition.reason == "RootExpired") then
    degraded = text
  end
end
if degraded ~= nil and hs.status == "Healthy" then
  hs.status = "Degraded"
  hs.message = degraded
end
return hs
