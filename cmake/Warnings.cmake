add_library(qwenplan_warnings INTERFACE)
if(MSVC)
  target_compile_options(qwenplan_warnings INTERFACE /W4 $<$<BOOL:${QWENPLAN_WERROR}>:/WX>)
else()
  target_compile_options(qwenplan_warnings INTERFACE
    -Wall -Wextra -Wconversion -Wshadow $<$<BOOL:${QWENPLAN_WERROR}>:-Werror>)
  # GCC 12 finds overlaps in std::string that are not there (GCC bug 105651).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(qwenplan_warnings INTERFACE -Wno-restrict)
  endif()
endif()
