-- SPDX-License-Identifier: MIT
-- Commands for the specs of build and installation, which test what an admin types.

local shell = {};

-- quote(text) -> one word of a shell command
function shell.quote(text)
	return "'" .. text:gsub("'", "'\\''") .. "'";
end

-- try(format, word...) -> true or nil, what the command wrote on stdout and stderr; each word is quoted
function shell.try(format, ...)
	local words = {};
	for i, word in ipairs({ ... }) do words[i] = shell.quote(word); end
	local pipe = assert(io.popen("( " .. format:format(table.unpack(words)) .. " ) 2>&1 </dev/null"));
	local output = pipe:read("a");
	return pipe:close(), output;
end

-- run(format, word...) -> output; raises it when the command fails
function shell.run(format, ...)
	local ok, output = shell.try(format, ...);
	if not ok then error(("failed: %s\n%s"):format(format:format(...), output), 2); end
	return output;
end

-- lines(format, word...) -> array of the output's lines; raises as run
function shell.lines(format, ...)
	local lines = {};
	for line in shell.run(format, ...):gmatch("[^\n]+") do lines[#lines + 1] = line; end
	return lines;
end

-- temporary_directory() -> path of a new directory that every user may enter
function shell.temporary_directory()
	local path = shell.lines("mktemp -d /tmp/prosody-relay.XXXXXX")[1];
	shell.run("chmod 755 %s", path);
	return path;
end

return shell;
