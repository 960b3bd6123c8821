"""The engine: takes jobs, holds their locks and records how they ended, with BullMQ's own Lua scripts."""
