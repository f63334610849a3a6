add_library(qwenplan_warnings INTERFACE)
if(MSVC)
  target_compile_options(qwenplan_warnings INTERFACE /W4 $<$<BOOL:${QWENPLAN_WERROR}>:/WX>)
else()
  target_compile_options(qwenplan_warnings INTERFACE
    -Wall -Wextra -Wconversion -Wshadow $<$<BOOL:${QWENPLAN_WERROR}>:-Werror>)
endif()
