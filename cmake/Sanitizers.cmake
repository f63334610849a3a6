add_library(qwenplan_sanitizers INTERFACE)
if(QWENPLAN_SANITIZE)
  list(JOIN QWENPLAN_SANITIZE "," sanitizers)
  target_compile_options(qwenplan_sanitizers INTERFACE
    -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(qwenplan_sanitizers INTERFACE -fsanitize=${sanitizers})
endif()
