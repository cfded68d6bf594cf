-- SPDX-License-Identifier: MIT
-- The certificate authority of a scenario. Servers believe it and nobody else, as real ones believe the authorities of their system.

local idna_to_ascii = require "util.encodings".idna.to_ascii;
local shell = require "shell";

local certificates = {};
local authority_mt = { __index = certificates };

local valid = "-days 3650";

-- new(dir) -> authority; its files are dir/authority.crt and dir/authority.key
function certificates.new(dir)
	local self = setmetatable({ certificate = dir .. "/authority.crt"; key = dir .. "/authority.key" }, authority_mt);
	shell.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout %s -out %s -subj '/CN=Test bed' " .. valid,
		self.key, self.certificate);
	return self;
end

-- issue(names, path): writes a certificate for these XMPP domains. Its key is the authority's: secrecy is not what is tested here.
function certificates:issue(names, path)
	local identities = {};
	for _, name in ipairs(names) do
		identities[#identities + 1] = "otherName:1.3.6.1.5.5.7.8.5;UTF8:" .. name; -- xmppAddr of RFC 6120
		identities[#identities + 1] = "DNS:" .. idna_to_ascii(name);
	end
	shell.run("openssl req -x509 -CA %s -CAkey %s -key %s -out %s -subj '/CN=Prosody of the test bed' -utf8 -addext %s -addext %s " .. valid,
		self.certificate, self.key, self.key, path, "basicConstraints=critical,CA:FALSE",
		"subjectAltName=" .. table.concat(identities, ","));
end

return certificates;
