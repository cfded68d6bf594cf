-- SPDX-License-Identifier: MIT
-- The one place for the version; the rockspecs carry the same number.
return "0.1.0";
