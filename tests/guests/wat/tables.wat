;; A step whose `run` makes a table larger until it is told that it can't.
;; Rust has no word for that. Every result is at a fixed address.
(module
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (global $top (mut i32) (i32.const 8192))
  ;; definition: its address and its length
  (data (i32.const 256) "\00\04\00\00\2e\00\00\00")
  (data (i32.const 1024) "{\"name\":\"tables\",\"version\":\"1.0.0\",\"props\":{}}")
  ;; ok("null")
  (data (i32.const 512) "\00\00\00\00\10\02\00\00\04\00\00\00")
  (data (i32.const 528) "null")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "definition") (result i32) (i32.const 256))
  (func (export "configure") (param i32 i32 i32 i32) (result i32) (i32.const 512))
  (func (export "run") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (loop $more
      (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
    (i32.const 512)))
