# The packages come from the system. The names of the targets are the contract: they are the same
# from Debian 12 (fmt 9, CLI11 2.1, Catch2 2.13) to the newest of Homebrew and vcpkg.
find_package(CLI11 2.1 CONFIG QUIET)
find_package(nlohmann_json 3.11 CONFIG QUIET)
find_package(fmt 9.1 CONFIG QUIET)
set(wanted CLI11::CLI11 nlohmann_json::nlohmann_json fmt::fmt-header-only)
if(QWENPLAN_TESTS)
  find_package(Catch2 CONFIG QUIET)  # No version: its file accepts one major only, and 2 and 3 both do.
  list(APPEND wanted Catch2::Catch2WithMain)
endif()

set(missing "")
foreach(target IN LISTS wanted)
  if(NOT TARGET ${target})
    string(REGEX REPLACE "::.*" "" package ${target})
    list(APPEND missing ${package})
  endif()
endforeach()
if(missing)
  list(JOIN missing ", " missing)
  message(FATAL_ERROR "qwenplan needs packages that are not here: ${missing}. Install them with one of\n"
    "  apt install cmake g++ ninja-build libcli11-dev nlohmann-json3-dev libfmt-dev catch2\n"
    "  brew install cmake cli11 nlohmann-json fmt catch2\n"
    "  vcpkg install cli11 nlohmann-json fmt catch2\n"
    "and configure again.")
endif()

# One target, so that every file sees the same definitions.
add_library(qwenplan_packages INTERFACE)
target_link_libraries(qwenplan_packages
  INTERFACE CLI11::CLI11 nlohmann_json::nlohmann_json fmt::fmt-header-only)
target_compile_definitions(qwenplan_packages INTERFACE JSON_USE_IMPLICIT_CONVERSIONS=0)
