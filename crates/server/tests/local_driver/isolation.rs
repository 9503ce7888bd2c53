//! What a session can see and do: tried from inside, in the sandbox that GIMP gets.
