-- SPDX-License-Identifier: MIT
-- The joints of mod_client_proxy (doc/architecture.markdown): files lie on floors, and all errors that the module words are in one of them.

local files = require "structure".read("lua/mod_client_proxy/", "module:require \"([%w_/]+)\"");

describe("the files of mod_client_proxy", function ()
	it("use none that uses them", function ()
		local floors = files:floors();
		assert.is_true(floors.proxy > 3);
	end);

	it("name the errors that there are, and all of them", function ()
		local patterns = {
			"errors%.%l+%(%w+, \"([%w-]+)\"", "fail%(self, record, \"([%w-]+)\"", "refuse%(self, event, \"([%w-]+)\"%)",
			"refuse%(self, event, \"[%w-]+\", \"([%w-]+)\"%)", "nil, \"([%w-]+)\";",
		};
		assert.is_true(15 < files:errors(patterns, function (file, name)
			return not (file == "messages" and name == "no-resource"); -- an error is not answered: its refusal has a reason alone
		end));
	end);

	it("word no error anywhere else", function ()
		assert.same({}, files:with("error_reply"));
	end);
end);
